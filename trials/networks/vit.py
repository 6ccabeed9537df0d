"""The vision transformers of Dosovitskiy et al. 2020 (arXiv 2010.11929), as torchvision has them.

Pre-norm encoder blocks with GELU, a class token, learned positions. The initial weights are torchvision's
own, among them a head of zeros: the first step changes the head alone.
"""

from torch import nn

from silo.errors import InvalidInput
from trials.networks import MOST_LAYERS, require_colour, require_dropout
from trials.vision import load_torchvision


def vit_b_16(*, input_shape: tuple[int, ...], num_classes: int, dropout: float = 0.0) -> nn.Module:
    """ViT-B/16, ``torchvision.models.vit_b_16``: patches of 16×16 pixels, 12 layers of 12 heads, width 768.

    With images of 224×224 pixels and 1000 classes it has 86,567,656 parameters; with 384×384 and 10 classes
    86,098,186.

    Args:
        input_shape: (3, S, S), S a multiple of 16; each size has its own positions.
        num_classes: Number of outputs.
        dropout: Share that is dropped in training behind the positions and behind each linear layer of the
            blocks, in [0, 1). Above 0 the candidates of a cycle can't be trained together.

    Raises:
        InvalidInput: Another input shape, a dropout outside [0, 1), or torchvision is not installed.
    """
    return _transformer(
        "vit_b_16", input_shape, num_classes, dropout, patch=16, layers=12, heads=12, width=768, mlp=3072
    )


def vit(
    *,
    input_shape: tuple[int, ...],
    num_classes: int,
    patch: int = 4,
    layers: int = 12,
    heads: int = 3,
    width: int = 192,
    mlp: int = 768,
    dropout: float = 0.0,
) -> nn.Module:
    """A vision transformer of any size, ``torchvision.models.VisionTransformer``.

    The defaults are the sizes of DeiT-Ti (Touvron et al. 2020, arXiv 2012.12877, table 1) on patches of 4×4
    pixels, for CIFAR: 5,362,762 parameters for 10 classes, 5,319,552 of them weights.

    Args:
        input_shape: (3, S, S), S a multiple of ``patch``.
        num_classes: Number of outputs.
        patch: Side of a patch in pixels.
        layers: Number of encoder blocks.
        heads: Attention heads of each block; they share the width evenly.
        width: Numbers per patch, a multiple of ``heads``.
        mlp: Width of the hidden layer of each block's perceptron.
        dropout: As in :func:`vit_b_16`.

    Raises:
        InvalidInput: As :func:`vit_b_16`; or a size below 1, or a width that the heads can't share.
    """
    sizes = {"patch": patch, "layers": layers, "heads": heads, "width": width, "mlp": mlp}
    if isinstance(layers, int) and layers > MOST_LAYERS:
        raise InvalidInput(f"vit can't be built with layers = {layers:,}: at most {MOST_LAYERS:,} are taken")
    for name, size in sizes.items():
        if not isinstance(size, int) or size < 1:
            raise InvalidInput(
                f"vit can't be built with {name} = {size!r}: give a whole number of at least 1"
            )
    if width % heads:
        raise InvalidInput(
            f"vit can't be built with width = {width} and heads = {heads}: "
            "the width must be a multiple of the heads"
        )
    return _transformer("vit", input_shape, num_classes, dropout, **sizes)


def _transformer(
    network: str,
    input_shape: tuple[int, ...],
    num_classes: int,
    dropout: float,
    *,
    patch: int,
    layers: int,
    heads: int,
    width: int,
    mlp: int,
) -> nn.Module:
    require_colour(network, input_shape)
    if input_shape[1] != input_shape[2] or input_shape[1] % patch:
        raise InvalidInput(
            f"{network} can't take inputs of shape {tuple(input_shape)}: "
            f"it needs square images with a side that is a multiple of {patch}, its patch"
        )
    require_dropout(network, dropout)
    transformer: nn.Module = load_torchvision().models.VisionTransformer(
        image_size=input_shape[1],
        patch_size=patch,
        num_layers=layers,
        num_heads=heads,
        hidden_dim=width,
        mlp_dim=mlp,
        dropout=dropout,
        num_classes=num_classes,
    )
    return transformer
