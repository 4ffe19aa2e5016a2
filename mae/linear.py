"""`torch.nn.Linear`, about twice as fast in float32 on AMD processors.

PyTorch multiplies float32 matrices with Intel's MKL, which leaves the widest vector units of other makers' processors
idle. oneDNN, which PyTorch brings along for other number formats, uses them: so there, and only there, it is asked.
Precision, weights, names and everything else are those of `torch.nn.Linear`.
"""

import platform
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import register_flop_formula

SMALLEST = 2**22  # multiplications; below, the way to oneDNN costs more than it saves


def _on_amd() -> bool:
    """Whether the processor is AMD's, as Windows or Linux names its maker."""
    cpuinfo = Path("/proc/cpuinfo")
    return "AuthenticAMD" in (cpuinfo.read_text() if cpuinfo.exists() else platform.processor())


has_onednn = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
use_onednn = has_onednn and _on_amd()


# An operator of its own, because the compiler takes oneDNN's for one whose weights never change.
@torch.library.custom_op("mae::linear", mutates_args=())
def _linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(*x.shape[:-1], len(weight))


def _keep(ctx, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:2])


def _backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    x, weight = ctx.saved_tensors
    flat = gradient.flatten(0, -2)  # (tokens, O)
    need_x, need_weight, need_bias = ctx.needs_input_grad
    return (
        _linear(flat, weight.T, None).view_as(x) if need_x else None,
        _linear(flat.T, x.flatten(0, -2).T, None) if need_weight else None,
        flat.sum(0) if need_bias else None,
    )


_linear.register_autograd(_backward, setup_context=_keep)


@register_flop_formula(torch.ops.mae.linear)
def _count(x_shape: torch.Size, weight_shape: torch.Size, *args, **kwargs) -> int:
    return 2 * x_shape.numel() * weight_shape[0]


class Linear(nn.Linear):
    """A linear map of each token, (…, I) → (…, O): `torch.nn.Linear` with the same parameters.

    Large products of float32 numbers on an AMD processor are computed by oneDNN, all others as by PyTorch: those
    under autocast, under the transforms of `torch.func` and in forward-mode differentiation among them. Set
    ``mae.linear.use_onednn = False`` to have all computed as by PyTorch.

    Parameters
    ----------
    in_features, out_features : int
        I and O.
    bias : bool
    device, dtype : optional
        As in `torch.nn.Linear`.
    """

    def forward(self, x: Tensor) -> Tensor:
        if (
            use_onednn
            and x.dtype == self.weight.dtype == torch.float32
            and x.device.type == "cpu"
            and x.ndim > 1
            and x.numel() * self.out_features >= SMALLEST
            and not torch.is_autocast_enabled("cpu")
            and not torch._C._are_functorch_transforms_active()
            and torch.autograd.forward_ad._current_level < 0
        ):
            return _linear(x, self.weight, self.bias)
        return super().forward(x)


def accelerate(model: nn.Module) -> nn.Module:
    """Have each `torch.nn.Linear` of a model, whoever wrote it, compute as `Linear` does. Its weights stay in place.

    Parameters
    ----------
    model : nn.Module
        Changed, and returned.

    Returns
    -------
    nn.Module
    """
    for module in model.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear
    return model
