"""What a masked autoencoder costs: floating-point operations, by formula.

A multiplication and an addition count as two operations. Only matrix products count, as in PyTorch's own counter;
norms, softmax and GELU are left out (chapter 2).
"""

from mae.model import MAEConfig


def block_flops(tokens: int, width: int, mlp_ratio: int = 4, computed: int | None = None) -> int:
    """Operations of one transformer block on one example, forward.

    Parameters
    ----------
    tokens : int
        T, the class token included.
    width : int
        D.
    mlp_ratio : int
        Hidden width of the MLP, in multiples of D.
    computed : int, optional
        M, how many of the T tokens are asked for; all, if not given.

    Returns
    -------
    int
        ``6·T·D² + 2·M·D² + 4·M·T·D + 4·mlp_ratio·M·D²``: queries, keys and values, the projection behind them, scores
        and weighted sums, two MLP layers.
    """
    computed = tokens if computed is None else computed
    projections = (6 * tokens + 2 * computed) * width**2
    attention = 4 * computed * tokens * width
    mlp = 4 * mlp_ratio * computed * width**2
    return projections + attention + mlp


def model_flops(config: MAEConfig, encoded: int, predicted: int = 0, *, full: bool = False) -> dict[str, int]:
    """Operations of each part of a masked autoencoder on one example, forward.

    Parameters
    ----------
    config : MAEConfig
    encoded : int
        Patches that enter the encoder, 1 to N: K if hidden patches are dropped, N if the encoder sees them all
        or gets mask tokens in their place.
    predicted : int
        Patches that are predicted, 0 to N. With 0 the decoder does not run: this is the cost of features.
    full : bool
        Count the decoder as published, with all N patches in each block. `MaskedAutoencoder.forward` computes only
        the predicted ones in the last block.

    Returns
    -------
    dict of str to int
        ``embed``, ``encoder`` (its blocks), ``decoder`` (the change of width, and its blocks) and ``predict``.

    Raises
    ------
    ValueError
        If a count is out of range.
    """
    c, N = config, config.num_patches
    if not 1 <= encoded <= N or not 0 <= predicted <= N:
        raise ValueError(
            f"expected 1 to {N} encoded and 0 to {N} predicted patches for this model, got {encoded} and {predicted}"
        )
    decode = 2 * (1 + encoded) * c.width * c.decoder_width
    decode += (c.decoder_depth - 1) * block_flops(1 + N, c.decoder_width, c.mlp_ratio)
    decode += block_flops(1 + N, c.decoder_width, c.mlp_ratio, computed=1 + N if full else predicted)
    return {
        "embed": 2 * encoded * c.patch_values * c.width,
        "encoder": c.depth * block_flops(1 + encoded, c.width, c.mlp_ratio),
        "decoder": decode if predicted else 0,
        "predict": 2 * predicted * c.decoder_width * c.patch_values,
    }
