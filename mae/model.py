"""The masked autoencoder of He et al. (2022), on patches: it knows nothing of images.

Parts carry the names of the published checkpoints.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mae.attention import attention
from mae.linear import Linear
from mae.masking import Mask, take


@dataclass(frozen=True, kw_only=True)
class MAEConfig:
    """The sizes of a masked autoencoder.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns of patches; N is their product.
    patch_values : int
        P, the numbers in a patch: height × width × channels.
    width, depth, heads : int
        Token width D, blocks and attention heads of the encoder. The width must be divisible by 4 (positions)
        and by the heads.
    decoder_width, decoder_depth, decoder_heads : int
        The same for the decoder.
    mlp_ratio : int
        Hidden width of a block's MLP, in multiples of the token width.

    Raises
    ------
    ValueError
        If a size is not positive, the grid is not two numbers, or the divisions do not work out.
    """

    grid: tuple[int, int]
    patch_values: int
    width: int
    depth: int
    heads: int
    decoder_width: int
    decoder_depth: int
    decoder_heads: int
    mlp_ratio: int = 4

    def __post_init__(self):
        if not isinstance(self.grid, tuple | list) or len(self.grid) != 2:
            raise ValueError(f"expected a grid (rows, columns), got {self.grid}")
        object.__setattr__(self, "grid", tuple(self.grid))  # a list when it comes from a file
        for name, value in vars(self).items():
            if min(value if name == "grid" else [value]) < 1:
                raise ValueError(f"expected {name} of at least 1, got {value}")
        for part, width, heads in (
            ("width", self.width, self.heads),
            ("decoder_width", self.decoder_width, self.decoder_heads),
        ):
            if width % 4 or width % heads:
                raise ValueError(f"{part} must be divisible by 4 and by its {heads} heads, got {width}")

    @property
    def num_patches(self) -> int:
        """N."""
        return self.grid[0] * self.grid[1]


def digits_config() -> MAEConfig:
    """The model of this book: 28×28 grey digits in 4×4 patches."""
    return MAEConfig(
        grid=(7, 7),
        patch_values=16,
        width=128,
        depth=4,
        heads=4,
        decoder_width=64,
        decoder_depth=2,
        decoder_heads=4,
    )


def tiny_config() -> MAEConfig:
    """A model small enough to look at: four patches of four values."""
    return MAEConfig(
        grid=(2, 2),
        patch_values=4,
        width=8,
        depth=1,
        heads=2,
        decoder_width=8,
        decoder_depth=1,
        decoder_heads=2,
    )


def vit_config(size: str) -> MAEConfig:
    """The published models on 224×224 RGB images (He et al., 2022).

    Parameters
    ----------
    size : {"base", "large", "huge"}
        ViT-B/16, ViT-L/16 or ViT-H/14 with the default decoder: 8 blocks, 512 wide.
    """
    sizes = {"base": (16, 768, 12, 12), "large": (16, 1024, 24, 16), "huge": (14, 1280, 32, 16)}
    if size not in sizes:
        raise ValueError(f"expected one of {', '.join(sizes)}, got {size!r}")
    patch, width, depth, heads = sizes[size]
    return MAEConfig(
        grid=(224 // patch, 224 // patch),
        patch_values=patch * patch * 3,
        width=width,
        depth=depth,
        heads=heads,
        decoder_width=512,
        decoder_depth=8,
        decoder_heads=16,
    )


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed two-dimensional sine-cosine positions (He et al., 2022, section 3; Vaswani et al., 2017).

    Half of the values encode the column and half the row, each as sines, then cosines, of the coordinate at
    width / 4 frequencies from 1 down to 1/10000. The column comes first because the published weights were
    trained that way.

    Parameters
    ----------
    grid : (int, int)
        Rows and columns.
    width : int
        D, divisible by 4.

    Returns
    -------
    Tensor, (N, D)

    Raises
    ------
    ValueError
        If the width is not divisible by 4.
    """
    if width % 4:
        raise ValueError(f"expected a width divisible by 4, got {width}")
    frequency = 10000.0 ** (-torch.arange(width // 4, dtype=torch.float64) / (width // 4))  # (D/4,)
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    angles = [axis.flatten()[:, None] * frequency for axis in (column, row)]  # 2 × (N, D/4)
    return torch.cat([f(angle) for angle in angles for f in (torch.sin, torch.cos)], dim=1).float()


class Attention(nn.Module):
    """Multi-head self-attention (Vaswani et al., 2017): (B, T, D) → (B, T, D).

    With an index (B, M), only these M tokens ask, and all answer: → (B, M, D).

    Parameters
    ----------
    width : int
        D, divisible by the heads.
    heads : int
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.proj = Linear(width, width)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)  # (B, T, D)
        if index is not None:
            q = take(q, index)  # (B, M, D)
        q, k, v = (t.unflatten(-1, (self.heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, heads, T, D/heads)
        return self.proj(attention(q, k, v).transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Two linear maps with a GELU between them, on each token alone: (B, T, D) → (B, T, D).

    Parameters
    ----------
    width, hidden : int
        D, and the width between the maps.
    """

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.fc1 = Linear(width, hidden)
        self.fc2 = Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al., 2021): (B, T, D) → (B, T, D).

    With an index (B, M), only these M tokens are computed, from all T: → (B, M, D).

    Parameters
    ----------
    width, heads : int
    mlp_ratio : int
        Hidden width of the MLP, in multiples of D.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = MLP(width, mlp_ratio * width)

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        mixed = self.attn(self.norm1(x), index)
        x = mixed + (x if index is None else take(x, index))
        return x + self.mlp(self.norm2(x))


class MaskedAutoencoder(nn.Module):
    """Encode the visible patches, predict the hidden ones (He et al., 2022, section 3).

    Parameters
    ----------
    config : MAEConfig
    generator : torch.Generator, optional
        Draws the initial weights; without it, torch's global one does.
    """

    def __init__(self, config: MAEConfig, *, generator: torch.Generator | None = None):
        super().__init__()
        self.config = c = config
        self.patch_embed = Linear(c.patch_values, c.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, c.width))
        self.blocks = nn.ModuleList(Block(c.width, c.heads, c.mlp_ratio) for _ in range(c.depth))
        self.norm = nn.LayerNorm(c.width, eps=1e-6)

        self.decoder_embed = Linear(c.width, c.decoder_width)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, c.decoder_width))
        self.decoder_blocks = nn.ModuleList(
            Block(c.decoder_width, c.decoder_heads, c.mlp_ratio) for _ in range(c.decoder_depth)
        )
        self.decoder_norm = nn.LayerNorm(c.decoder_width, eps=1e-6)
        self.decoder_pred = Linear(c.decoder_width, c.patch_values)

        # Fixed, so not part of the weights. The class token's position is zero: none is added to it.
        self.register_buffer("positions", sincos_positions(c.grid, c.width), persistent=False)
        self.register_buffer("decoder_positions", sincos_positions(c.grid, c.decoder_width), persistent=False)
        self._initialize(generator)

    def _initialize(self, generator: torch.Generator | None) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight, generator=generator)
                nn.init.zeros_(module.bias)
        for token in (self.cls_token, self.mask_token):
            nn.init.normal_(token, std=0.02, generator=generator)

    def forward(self, patches: Tensor, mask: Mask, predict: str = "hidden") -> Tensor:
        """Predict patches from the visible ones.

        Parameters
        ----------
        patches : Tensor, (B, N, P)
            All patches; the hidden ones are never looked at.
        mask : Mask
        predict : {"hidden", "visible", "all"}
            Which patches to predict, in the order of `Mask.indices`.

        Returns
        -------
        Tensor, (B, M, P)
            Or (B, K, P), or (B, N, P).

        Raises
        ------
        ValueError
            If patches, mask and model do not fit together.
        """
        latent = self.encode(patches, mask)  # (B, 1 + K, D)
        tokens = self.decode(latent, mask, mask.indices(predict))  # (B, M, decoder width)
        return self.predict(tokens)

    def encode(self, patches: Tensor, mask: Mask | None = None) -> Tensor:
        """Latent tokens of the visible patches, behind a class token; without a mask, of all patches.

        Parameters
        ----------
        patches : Tensor, (B, N, P)
        mask : Mask, optional

        Returns
        -------
        Tensor, (B, 1 + K, D)
            In the order of ``mask.visible``.
        """
        self._check(patches, mask)
        x = self.embed(patches, mask)  # (B, K, D)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1)  # (B, 1 + K, D)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def embed(self, patches: Tensor, mask: Mask | None = None) -> Tensor:
        """Tokens of the visible patches (of all, without a mask): a linear map of each, plus its position.

        Parameters
        ----------
        patches : Tensor, (B, N, P)
        mask : Mask, optional

        Returns
        -------
        Tensor, (B, K, D)
        """
        if mask is None:
            return self.patch_embed(patches) + self.positions
        return self.patch_embed(take(patches, mask.visible)) + self.positions[mask.visible]

    def decode(self, latent: Tensor, mask: Mask | None = None, index: Tensor | None = None) -> Tensor:
        """Decoder tokens: encoded where visible, mask tokens where hidden, in place, then mixed.

        Parameters
        ----------
        latent : Tensor, (B, 1 + K, D)
        mask : Mask, optional
            The mask it was encoded with; none if the encoder saw all patches.
        index : Tensor, (B, M), int64, optional
            The positions whose tokens are wanted, all N without it. The last block computes no others.

        Returns
        -------
        Tensor, (B, M, decoder width)

        Raises
        ------
        ValueError
            If the latent was not encoded with this mask.
        """
        expected = self.config.num_patches if mask is None else mask.visible.shape[1]
        shape = (len(latent) if mask is None else len(mask), 1 + expected, self.config.width)
        if latent.shape != shape:
            raise ValueError(f"expected a latent {shape} for this mask, got {tuple(latent.shape)}")
        x = self.decoder_embed(latent)
        cls, x = x[:, :1], x[:, 1:]
        if mask is not None:
            hidden = self.mask_token.to(x.dtype).expand(len(x), mask.hidden.shape[1], -1)  # (B, M, decoder width)
            x = take(torch.cat([x, hidden], dim=1), mask.restore)  # back in place: (B, N, decoder width)
        x = torch.cat([cls, x + self.decoder_positions], dim=1)
        for block in self.decoder_blocks[:-1]:
            x = block(x)
        last = self.decoder_blocks[-1]
        return last(x)[:, 1:] if index is None else last(x, 1 + index)

    def predict(self, tokens: Tensor) -> Tensor:
        """Pixel values from decoder tokens.

        Parameters
        ----------
        tokens : Tensor, (B, M, decoder width)

        Returns
        -------
        Tensor, (B, M, P)
        """
        return self.decoder_pred(self.decoder_norm(tokens))

    def _check(self, patches: Tensor, mask: Mask | None) -> None:
        c = self.config
        if patches.ndim != 3 or patches.shape[1:] != (c.num_patches, c.patch_values):
            raise ValueError(
                f"expected patches (B, {c.num_patches}, {c.patch_values}) for this model, got {tuple(patches.shape)}: "
                f"it was built for a grid of {c.grid[0]}×{c.grid[1]} patches of {c.patch_values} values"
            )
        if not patches.is_floating_point():
            raise ValueError(f"expected floating-point patches, got {patches.dtype}")
        if not torch.is_autocast_enabled(patches.device.type) and patches.dtype != self.patch_embed.weight.dtype:
            raise ValueError(f"expected patches of the model's {self.patch_embed.weight.dtype}, got {patches.dtype}")
        if mask is not None and (len(mask), mask.num_patches) != patches.shape[:2]:
            raise ValueError(
                f"expected a mask for {len(patches)} examples of {c.num_patches} patches, "
                f"got one for {len(mask)} of {mask.num_patches}"
            )


class Encoder(MaskedAutoencoder):
    """The encoder alone, as the files ``mae_pretrain_*.pth`` hold it: for features and fine-tuning.

    Parameters
    ----------
    config : MAEConfig
        What it says of a decoder is not used.
    generator : torch.Generator, optional
    """

    def __init__(self, config: MAEConfig, *, generator: torch.Generator | None = None):
        super().__init__(config, generator=generator)
        for name in ("embed", "blocks", "norm", "pred", "positions"):
            delattr(self, f"decoder_{name}")
        del self.mask_token

    def decode(self, latent: Tensor, mask: Mask | None = None, index: Tensor | None = None) -> Tensor:
        """There is no decoder to do it.

        Parameters
        ----------
        latent : Tensor
        mask : Mask, optional
        index : Tensor, optional

        Raises
        ------
        ValueError
            Always: it says which weights have a decoder.
        """
        raise ValueError(
            "these weights are the encoder alone (mae_pretrain_*.pth), for features and fine-tuning: they have no "
            'decoder to rebuild pictures with. Take load_official(name, "visualize"), which predicts pixels, or '
            '"full", which predicts normalised pixels'
        )
