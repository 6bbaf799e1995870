"""The benchmark's models in PyTorch, with the parameters that attr's side has written."""

import numpy as np
import PIL
import torch
from torch import nn
from torch.nn import functional

# The torchvision of zennit-crp's environment imports what Pillow no longer has.
PIL.PILLOW_VERSION = PIL.__version__
from torchvision.models import resnet18, vgg11
from torchvision.models.resnet import BasicBlock, ResNet


class Tabular(nn.Sequential):
    """30 features, two hidden layers of 64, two classes."""

    def __init__(self, num_classes=2):
        super().__init__()
        self.layer0 = nn.Linear(30, 64)
        self.relu0 = nn.ReLU()
        self.layer1 = nn.Linear(64, 64)
        self.relu1 = nn.ReLU()
        self.layer2 = nn.Linear(64, num_classes)


class Digits(nn.Module):
    """The network of the digits examples."""

    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(32)
        self.relu2 = nn.ReLU()
        self.pool = nn.MaxPool2d(2)
        self.conv3 = nn.Conv2d(32, 32, 3, padding=1)
        self.bn3 = nn.BatchNorm2d(32)
        self.relu3 = nn.ReLU()
        self.fc = nn.Linear(32 * 4 * 4, num_classes)

    def forward(self, x):
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.pool(self.relu2(self.bn2(self.conv2(x))))
        x = self.relu3(self.bn3(self.conv3(x)))
        return self.fc(x.flatten(1))


class OwnReluBlock(BasicBlock):
    """A block whose ReLUs are two modules, as DeepLIFT's hooks need them."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.relu2 = nn.ReLU(inplace=True)

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return self.relu2(out + identity)


def own_relu_resnet18(num_classes):
    """torchvision's ResNet-18, without a ReLU that is used twice."""
    return ResNet(OwnReluBlock, [2, 2, 2, 2], num_classes=num_classes)


class Normed(nn.Module):
    """A convolution without bias, and BatchNorm."""

    def __init__(self, inputs, outputs, kernel, stride=1, groups=1):
        super().__init__()
        options = {"stride": stride, "padding": kernel // 2, "groups": groups}
        self.conv = nn.Conv2d(inputs, outputs, kernel, bias=False, **options)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn(self.conv(x))


class InvertedResidual(nn.Module):
    """A block of EfficientNet-Lite0."""

    def __init__(self, expansion, inputs, outputs, stride, kernel):
        super().__init__()
        hidden = inputs * expansion
        self.expand = Normed(inputs, hidden, 1) if expansion > 1 else None
        self.relu1 = nn.ReLU6(inplace=True)
        self.depthwise = Normed(hidden, hidden, kernel, stride, hidden)
        self.relu2 = nn.ReLU6(inplace=True)
        self.project = Normed(hidden, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x):
        hidden = x if self.expand is None else self.relu1(self.expand(x))
        output = self.project(self.relu2(self.depthwise(hidden)))
        return output + x if self.residual else output


class EfficientNetLite0(nn.Module):
    """EfficientNet-Lite0, with PyTorch's padding."""

    # How much blocks expand, channels, blocks, stride of the first, kernel.
    STAGES = (
        (1, 16, 1, 1, 3),
        (6, 24, 2, 2, 3),
        (6, 40, 2, 2, 5),
        (6, 80, 3, 2, 3),
        (6, 112, 3, 1, 5),
        (6, 192, 4, 2, 5),
        (6, 320, 1, 1, 3),
    )

    def __init__(self, num_classes=1000):
        super().__init__()
        self.stem = Normed(3, 32, 3, 2)
        self.relu1 = nn.ReLU6(inplace=True)
        blocks, inputs = [], 32
        for expansion, outputs, count, stride, kernel in self.STAGES:
            for i in range(count):
                first = stride if i == 0 else 1
                blocks.append(
                    InvertedResidual(expansion, inputs, outputs, first, kernel)
                )
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = Normed(inputs, 1280, 1)
        self.relu2 = nn.ReLU6(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(1280, num_classes)

    def forward(self, x):
        x = self.blocks(self.relu1(self.stem(x)))
        return self.fc(self.pool(self.relu2(self.head(x))).flatten(1))


class Attention(nn.Module):
    """Attention of a sequence to itself, fused."""

    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)

    def forward(self, x):
        def split(x):
            return x.unflatten(2, (self.heads, -1)).transpose(1, 2)

        query, key, value = (f(x) for f in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(
            split(query), split(key), split(value)
        )
        return self.output(mixed.transpose(1, 2).flatten(2))


class VitBlock(nn.Module):
    """Layer normalisation comes first, residual additions around it."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, 4 * width)
        self.gelu = nn.GELU()
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.fc2(self.gelu(self.fc1(self.norm2(x))))


class VitTiny(nn.Module):
    """ViT-Ti/16."""

    def __init__(self, num_classes=1000):
        super().__init__()
        self.patch = nn.Conv2d(3, 192, 16, 16)
        self.class_token = nn.Parameter(torch.zeros(1, 1, 192))
        self.position = nn.Parameter(torch.zeros(1, 197, 192))
        self.blocks = nn.Sequential(*(VitBlock(192, 3) for _ in range(12)))
        self.norm = nn.LayerNorm(192)
        self.head = nn.Linear(192, num_classes)

    def forward(self, x):
        patches = self.patch(x).flatten(2).transpose(1, 2)
        first = self.class_token.expand(len(x), -1, -1)
        x = torch.cat([first, patches], 1) + self.position
        return self.head(self.norm(self.blocks(x))[:, 0])


class FeedForward(nn.Module):
    """What follows attention in an encoder."""

    def __init__(self, width, inner):
        super().__init__()
        self.linear_inner = nn.Linear(width, inner)
        self.gelu = nn.GELU()
        self.linear_outer = nn.Linear(inner, width)

    def forward(self, x):
        return self.linear_outer(self.gelu(self.linear_inner(x)))


class EncoderLayer(nn.Module):
    """Layer normalisation comes after the residual additions."""

    def __init__(self, width, inner, heads):
        super().__init__()
        self.mha = Attention(width, heads)
        self.norm_1 = nn.LayerNorm(width)
        self.pwff = FeedForward(width, inner)
        self.norm_2 = nn.LayerNorm(width)

    def forward(self, x):
        x = self.norm_1(x + self.mha(x))
        return self.norm_2(x + self.pwff(x))


class SmallBert(nn.Module):
    """An encoder from the embeddings on, and a classifier of the first token."""

    def __init__(self, num_classes=2):
        super().__init__()
        layers = nn.Sequential(*(EncoderLayer(256, 1024, 4) for _ in range(6)))
        self.encoder = nn.ModuleDict({"layers": layers})
        self.pooler = nn.Linear(256, 256)
        self.classifier = nn.Linear(256, num_classes)

    def forward(self, embedded):
        encoded = self.encoder["layers"](embedded)
        return self.classifier(torch.tanh(self.pooler(encoded[:, 0])))


# For each model, how it is built and the bias that tells the number of classes.
BUILDERS = {
    "tabular": (Tabular, "layer2.bias"),
    "digits": (Digits, "fc.bias"),
    "resnet": (resnet18, "fc.bias"),
    "vgg": (vgg11, "classifier.6.bias"),
    "efficientnet": (EfficientNetLite0, "fc.bias"),
    "vit": (VitTiny, "head.bias"),
    "bert": (SmallBert, "classifier.bias"),
}


def read(folder, name, device="cpu"):
    """An array of the folder as a tensor."""
    return torch.from_numpy(np.load(folder / f"{name}.npy")).contiguous().to(device)


def load(folder, name, device="cpu", build=None):
    """A model, ready to be explained."""
    usual, last = BUILDERS[name]
    paths = folder.glob(f"{name}.*.npy")
    state = {p.stem[len(name) + 1 :]: read(folder, p.stem) for p in paths}
    model = (build or usual)(num_classes=len(state[last]))
    for key, value in model.state_dict().items():
        # A count that inference does not read.
        if key.endswith(".num_batches_tracked"):
            state[key] = value
    model.load_state_dict(state)
    return model.eval().requires_grad_(False).to(device)


def arrange(model, channels_last, inplace=True):
    """Set the order of a model's memory, and whether activations overwrite what they read."""
    order = torch.channels_last if channels_last else torch.contiguous_format
    # That of the weights is enough: the first convolution passes it on.
    model.to(memory_format=order)
    for module in model.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.inplace = inplace
    return model
