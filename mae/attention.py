"""`torch.nn.functional.scaled_dot_product_attention`, several times faster in bfloat16 on a CPU.

There PyTorch's routine walks through the scores in blocks, so that it never holds all of them: made for long
sequences. The scores of a few hundred tokens are small; two products with a softmax between take a third of the time.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

LONGEST = 512  # tokens that answer; beyond, the scores are never held: twice as many need four times the memory


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1): softmax(q kᵀ / √d) v.

    Up to 512 tokens of bfloat16 numbers on a CPU, it holds the scores and rounds them to bfloat16, as q and k are; all
    else is PyTorch's.

    Parameters
    ----------
    q : Tensor, (B, heads, M, d)
        What each of M tokens asks.
    k, v : Tensor, (B, heads, T, d)
        What T tokens answer to, and what they answer.

    Returns
    -------
    Tensor, (B, heads, M, d)
    """
    if q.dtype == torch.bfloat16 and q.device.type == "cpu" and k.shape[2] <= LONGEST:
        return (q * q.shape[3] ** -0.5 @ k.transpose(2, 3)).softmax(dim=3) @ v
    return F.scaled_dot_product_attention(q, k, v)
