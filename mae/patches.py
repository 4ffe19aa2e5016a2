"""Images into patches and back, exactly."""

import torch
from torch import Tensor


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    height, width = (size, size) if isinstance(size, int) else size
    if height < 1 or width < 1:
        raise ValueError(f"expected sizes of at least 1, got {size}")
    return height, width


def patch_grid(image_size: int | tuple[int, int], patch_size: int | tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of patches in an image.

    Parameters
    ----------
    image_size, patch_size : int or (int, int)
        Height and width in pixels; one number means a square.

    Returns
    -------
    (int, int)
        Rows and columns; N is their product.

    Raises
    ------
    ValueError
        If the patches do not tile the image.
    """
    (height, width), (p, q) = _pair(image_size), _pair(patch_size)
    if height % p or width % q:
        raise ValueError(
            f"an image of {height}×{width} pixels can't be cut into patches of {p}×{q}: "
            f"choose a patch size that divides both sides, or crop or resize the image"
        )
    return height // p, width // q


def patchify(images: Tensor, patch_size: int | tuple[int, int]) -> Tensor:
    """Cut images into a row-by-row sequence of patches.

    Inside a patch the values run by row, then column, then channel, as in the published model
    (He et al., 2022, section 3).

    Parameters
    ----------
    images : Tensor, (B, C, H, W), floating point
        Any number of channels; finite values.
    patch_size : int or (int, int)
        Height and width of a patch in pixels.

    Returns
    -------
    Tensor, (B, N, P)
        N = H·W / (p·q) patches of P = p·q·C values each.

    Raises
    ------
    ValueError
        If the shape, the dtype or a value is not as above, or the patches do not tile the image.
    """
    if images.ndim != 4 or 0 in images.shape:
        raise ValueError(
            f"expected images of shape (B, C, H, W), none of them 0, got {tuple(images.shape)}: "
            f"add the missing axes with images[None] or images[:, None]"
        )
    if not images.is_floating_point():
        raise ValueError(
            f"expected floating-point images, got {images.dtype}: scale them first, for example images / 255"
        )
    if not torch.isfinite(images).all():
        raise ValueError("expected finite pixel values, got NaN or infinity: clean the images first")
    B, C, H, W = images.shape
    rows, columns = patch_grid((H, W), patch_size)
    x = images.reshape(B, C, rows, H // rows, columns, W // columns)
    x = x.permute(0, 2, 4, 3, 5, 1)  # (B, rows, columns, p, q, C)
    return x.reshape(B, rows * columns, -1)  # (B, N, P)


def unpatchify(patches: Tensor, patch_size: int | tuple[int, int], image_size: int | tuple[int, int]) -> Tensor:
    """Put patches back together: the exact inverse of `patchify`.

    Parameters
    ----------
    patches : Tensor, (B, N, P)
    patch_size, image_size : int or (int, int)
        Height and width in pixels, as they were given to `patchify`.

    Returns
    -------
    Tensor, (B, C, H, W)
        C follows from P.

    Raises
    ------
    ValueError
        If the patches can't tile an image of this size.
    """
    rows, columns = patch_grid(image_size, patch_size)
    p, q = _pair(patch_size)
    if patches.ndim != 3 or patches.shape[1] != rows * columns or patches.shape[2] % (p * q) or 0 in patches.shape:
        raise ValueError(
            f"expected patches of shape (B, {rows * columns}, {p * q}·C) for a {rows}×{columns} grid "
            f"of {p}×{q} patches, got {tuple(patches.shape)}"
        )
    B = len(patches)
    x = patches.reshape(B, rows, columns, p, q, -1)
    x = x.permute(0, 5, 1, 3, 2, 4)  # (B, C, rows, p, columns, q)
    return x.reshape(B, x.shape[1], rows * p, columns * q)  # (B, C, H, W)
