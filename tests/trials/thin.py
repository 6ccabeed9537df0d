"""The networks of the registry with their operators and depth, but few channels: fast in double precision."""

from trials.networks import mobilenet, vgg
from trials.vision import load_torchvision


def make_thin(monkeypatch):
    """Makes those networks thin whose arguments allow no small one, as long as the patches last.

    VGG-19, MobileNetV2 and ViT-B/16 keep their depth. ResNet-50 keeps a block per stage: through all sixteen,
    on few pixels, a rounding of 1e-16 grows to 1 within ten steps, packed or not.
    """
    monkeypatch.setattr(vgg, "STAGES", ((4, 4), (6, 6), (8,) * 4, (8,) * 4, (8,) * 4))
    stages = tuple((expansion, channels // 4, *others) for expansion, channels, *others in mobilenet.STAGES)
    monkeypatch.setattr(mobilenet, "STAGES", stages)

    models = load_torchvision().models

    class ThinBlock(models.resnet.Bottleneck):
        expansion = 1

    def thin_resnet(*, num_classes):
        return models.ResNet(ThinBlock, [1, 1, 1, 1], num_classes=num_classes, width_per_group=16)

    transformer = models.VisionTransformer
    monkeypatch.setattr(models, "resnet50", thin_resnet)
    monkeypatch.setattr(
        models,
        "VisionTransformer",
        lambda **sizes: transformer(**sizes | {"hidden_dim": 24, "mlp_dim": 48}),
    )
