"""Small models with the structure of well-known ones, for the ONNX fixtures."""

import torch
import torch.nn.functional as F
from torch import nn


class MlpBn(nn.Module):
    """Linear, BatchNorm, ReLU."""

    def __init__(self, features=6, classes=4):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, 8),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Linear(8, 8, bias=False),
            nn.BatchNorm1d(8),
            nn.ReLU(),
            nn.Linear(8, classes),
        )

    def forward(self, x):
        return self.layers(x)


class Mlp(nn.Module):
    """Linear and ReLU."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.second = nn.Linear(8, 4)

    def forward(self, x):
        return self.second(F.relu(self.first(x)))


class LeNet(nn.Module):
    """Two convolutions with pooling, three linear layers, log-softmax."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 3, 5, padding=2)
        self.conv2 = nn.Conv2d(3, 6, 5)
        self.dropout = nn.Dropout(0.5)
        self.fc1 = nn.Linear(24, 12)
        self.fc2 = nn.Linear(12, 8)
        self.fc3 = nn.Linear(8, 5)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, 24)
        x = F.relu(self.fc1(x))
        x = self.dropout(F.relu(self.fc2(x)))
        return F.log_softmax(self.fc3(x), dim=1)


class BasicBlock(nn.Module):
    """Residual block of ResNet-18."""

    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x):
        identity = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(x)) + identity)


class ResNetTiny(nn.Module):
    """ResNet with two blocks."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(BasicBlock(4, 4))
        self.layer2 = nn.Sequential(BasicBlock(4, 8, 2))
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer2(self.layer1(x))
        return self.fc(torch.flatten(self.avgpool(x), 1))


class VggBnTiny(nn.Module):
    """VGG with BatchNorm."""

    def __init__(self):
        super().__init__()
        layers = []
        for inputs, outputs in ((3, 4), (4, 6)):
            layers += [
                nn.Conv2d(inputs, outputs, 3, padding=1),
                nn.BatchNorm2d(outputs),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2, 2),
            ]
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(24, 10), nn.ReLU(True), nn.Dropout(), nn.Linear(10, 4)
        )

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(x.view(x.size(0), -1))


class InvertedResidual(nn.Module):
    """Block of MobileNetV2."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        hidden = 2 * inputs
        self.residual = stride == 1 and inputs == outputs
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetTiny(nn.Module):
    """MobileNetV2 with two blocks."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1, bias=False),
            nn.BatchNorm2d(4),
            nn.ReLU6(inplace=True),
            InvertedResidual(4, 4, 1),
            InvertedResidual(4, 6, 2),
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 4))

    def forward(self, x):
        return self.classifier(self.features(x).mean([2, 3]))


class DenseLayer(nn.Module):
    """BN, ReLU, convolution, twice; the result is appended to the input."""

    def __init__(self, inputs, growth):
        super().__init__()
        self.norm1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, 2 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(2 * growth)
        self.conv2 = nn.Conv2d(2 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x):
        y = self.conv1(F.relu(self.norm1(x)))
        y = self.conv2(F.relu(self.norm2(y)))
        return torch.cat([x, y], 1)


class DenseNetTiny(nn.Module):
    """DenseNet with two blocks of two layers."""

    def __init__(self):
        super().__init__()
        self.conv0 = nn.Conv2d(3, 4, 3, 1, 1, bias=False)
        self.block1 = nn.Sequential(DenseLayer(4, 2), DenseLayer(6, 2))
        self.transition = nn.Sequential(
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 4, 1, bias=False),
            nn.AvgPool2d(2, 2),
        )
        self.block2 = nn.Sequential(DenseLayer(4, 2), DenseLayer(6, 2))
        self.norm = nn.BatchNorm2d(8)
        self.classifier = nn.Linear(8, 4)

    def forward(self, x):
        x = self.block2(self.transition(self.block1(self.conv0(x))))
        x = F.adaptive_avg_pool2d(F.relu(self.norm(x)), (1, 1))
        return self.classifier(torch.flatten(x, 1))


class SqueezeExcite(nn.Module):
    """Channel gate of EfficientNet."""

    def __init__(self, channels, squeezed):
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)

    def forward(self, x):
        gate = torch.sigmoid(self.fc2(F.silu(self.fc1(self.avgpool(x)))))
        return gate * x


class MbConv(nn.Module):
    """Block of EfficientNet."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        hidden = 2 * inputs
        self.residual = stride == 1 and inputs == outputs
        self.block = nn.Sequential(
            nn.Conv2d(inputs, hidden, 1, bias=False),
            nn.BatchNorm2d(hidden),
            nn.SiLU(inplace=True),
            nn.Conv2d(hidden, hidden, 5, stride, 2, groups=hidden, bias=False),
            nn.BatchNorm2d(hidden),
            nn.SiLU(inplace=True),
            SqueezeExcite(hidden, 2),
            nn.Conv2d(hidden, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x):
        return x + self.block(x) if self.residual else self.block(x)


class EfficientNetTiny(nn.Module):
    """EfficientNet with two blocks."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, 2, 1, bias=False),
            nn.BatchNorm2d(4),
            nn.SiLU(inplace=True),
            MbConv(4, 4, 1),
            MbConv(4, 6, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(6, 4))

    def forward(self, x):
        return self.classifier(torch.flatten(self.avgpool(self.features(x)), 1))


class Fire(nn.Module):
    """Module of SqueezeNet."""

    def __init__(self, inputs, squeezed, expanded):
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeezed, 1)
        self.expand1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand3 = nn.Conv2d(squeezed, expanded, 3, padding=1)

    def forward(self, x):
        x = F.relu(self.squeeze(x))
        return torch.cat([F.relu(self.expand1(x)), F.relu(self.expand3(x))], 1)


class SqueezeNetTiny(nn.Module):
    """SqueezeNet 1.1 with two fire modules; sizes are such that `ceil_mode` matters."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(6, 3, 4),
            nn.MaxPool2d(3, stride=2, ceil_mode=True),
            Fire(8, 3, 4),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(0.5), nn.Conv2d(8, 4, 1), nn.ReLU(), nn.AdaptiveAvgPool2d((1, 1))
        )

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of an image, through a permutation."""

    def forward(self, x):
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ConvNextBlock(nn.Module):
    """Depthwise convolution, then a channels-last MLP with a layer scale."""

    def __init__(self, channels):
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.pwconv1 = nn.Linear(channels, 3 * channels)
        self.pwconv2 = nn.Linear(3 * channels, channels)
        self.layer_scale = nn.Parameter(torch.ones(channels))

    def forward(self, x):
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        y = self.layer_scale * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNextTiny(nn.Module):
    """ConvNeXt with one block in each of two stages."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 2, 2),
            LayerNorm2d(4, eps=1e-6),
            ConvNextBlock(4),
            LayerNorm2d(4, eps=1e-6),
            nn.Conv2d(4, 6, 2, 2),
            ConvNextBlock(6),
        )
        self.norm = nn.LayerNorm(6, eps=1e-6)
        self.head = nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.norm(self.features(x).mean([-2, -1])))


class FusedAttention(nn.Module):
    """Self-attention with one projection for query, key and value."""

    def __init__(self, width, heads, causal=False):
        super().__init__()
        self.heads = heads
        self.causal = causal
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(x).reshape(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        x = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.proj(x.transpose(1, 2).reshape(batch, length, width))


class MultiheadAttention(nn.Module):
    """PyTorch's own module, as self-attention."""

    def __init__(self, width, heads):
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


class MaskedAttention(nn.Module):
    """Causal self-attention with an explicit mask, as in GPT-2."""

    def __init__(self, width, heads, longest):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        mask = torch.tril(torch.ones(longest, longest)).view(1, 1, longest, longest)
        self.register_buffer("mask", mask.bool())

    def forward(self, x):
        batch, length, width = x.shape
        size = width // self.heads
        q, k, v = self.qkv(x).split(width, dim=2)
        q = q.view(batch, length, self.heads, size).transpose(1, 2)
        k = k.view(batch, length, self.heads, size).transpose(1, 2)
        v = v.view(batch, length, self.heads, size).transpose(1, 2)
        scores = (q @ k.transpose(-2, -1)) / size**0.5
        mask = self.mask[:, :, :length, :length]
        scores = scores.masked_fill(~mask, float("-inf"))
        x = F.softmax(scores, dim=-1) @ v
        return self.proj(x.transpose(1, 2).contiguous().view(batch, length, width))


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, width, attention, approximate="none"):
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = attention
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width),
            nn.GELU(approximate=approximate),
            nn.Linear(2 * width, width),
        )

    def forward(self, x):
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class VitTiny(nn.Module):
    """Vision transformer with two blocks; `fused` selects the kind of attention."""

    def __init__(self, fused, size=8, patch=4, width=8, heads=2, depth=2, classes=4):
        super().__init__()
        kind = FusedAttention if fused else MultiheadAttention
        self.patches = nn.Conv2d(3, width, patch, patch)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.zeros(1, (size // patch) ** 2 + 1, width))
        self.blocks = nn.Sequential(
            *(Block(width, kind(width, heads)) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, classes)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2)
        token = self.class_token.expand(x.shape[0], -1, -1)
        x = torch.cat([token, x], dim=1) + self.positions
        return self.head(self.norm(self.blocks(x))[:, 0])


class GptTiny(nn.Module):
    """Causal decoder; the output layer shares the token embedding's weights."""

    def __init__(self, masked, vocabulary=17, longest=12, width=8, heads=2, depth=2):
        super().__init__()

        def attention():
            if masked:
                return MaskedAttention(width, heads, longest)
            return FusedAttention(width, heads, causal=True)

        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(longest, width)
        self.blocks = nn.Sequential(
            *(Block(width, attention(), "tanh") for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.tokens.weight

    def forward(self, tokens):
        positions = torch.arange(tokens.shape[1], device=tokens.device)
        x = self.tokens(tokens) + self.positions(positions)
        return self.head(self.norm(self.blocks(x)))


class Recurrent(nn.Module):
    """A recurrent layer, then a linear layer on its last step."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.hidden_size * (1 + layer.bidirectional), 3)

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class DoubleConv(nn.Sequential):
    """Two convolutions with BatchNorm and ReLU."""

    def __init__(self, inputs, outputs):
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class UNet(nn.Module):
    """U-Net of four levels, with a different upsampling at each."""

    def __init__(self, inputs=1, classes=2, widths=(3, 4, 5, 6)):
        super().__init__()
        w1, w2, w3, w4 = widths
        self.down1 = DoubleConv(inputs, w1)
        self.down2 = DoubleConv(w1, w2)
        self.down3 = DoubleConv(w2, w3)
        self.bottom = DoubleConv(w3, w4)
        self.pool = nn.MaxPool2d(2)
        self.up3 = nn.ConvTranspose2d(w4, w3, 2, stride=2)
        self.conv3 = DoubleConv(2 * w3, w3)
        self.up2 = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
        self.conv2 = DoubleConv(w3 + w2, w2)
        self.up1 = nn.Upsample(scale_factor=2, mode="nearest")
        self.conv1 = DoubleConv(w2 + w1, w1)
        self.head = nn.Conv2d(w1, classes, 1)

    def forward(self, x):
        x1 = self.down1(x)
        x2 = self.down2(self.pool(x1))
        x3 = self.down3(self.pool(x2))
        x = self.bottom(self.pool(x3))
        x = self.conv3(torch.cat([x3, self.up3(x)], 1))
        x = self.conv2(torch.cat([x2, self.up2(x)], 1))
        x = self.conv1(torch.cat([x1, self.up1(x)], 1))
        return self.head(x)


class Conv1dNet(nn.Module):
    """One-dimensional convolutions: padding, dilation, groups, transposed, pooling."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConstantPad1d((2, 1), 0.5),
            nn.Conv1d(2, 4, 3, dilation=2),
            nn.BatchNorm1d(4),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(4, 6, 3, stride=2, padding=1, groups=2),
            nn.ReLU(),
            nn.ConvTranspose1d(6, 4, 3, stride=2, padding=1, output_padding=1),
            nn.Tanh(),
            nn.AvgPool1d(3, stride=2, padding=1),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(4, 3),
        )

    def forward(self, x):
        return self.layers(x)


class Conv3dNet(nn.Module):
    """Three-dimensional convolutions and pooling."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(1, 3, 3, padding=1)
        self.bn = nn.BatchNorm3d(3)
        self.pool1 = nn.MaxPool3d(2)
        self.conv2 = nn.Conv3d(3, 4, (1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        self.pool2 = nn.AvgPool3d((2, 1, 1))
        self.fc = nn.Linear(16, 3)

    def forward(self, x):
        x = self.pool1(F.relu(self.bn(self.conv1(x))))
        x = self.pool2(F.relu(self.conv2(x)))
        return F.softmax(self.fc(x.flatten(1)), dim=-1)


class GroupNormNet(nn.Module):
    """The less common normalisations and activations."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(2, 4, 3, padding=1),
            nn.GroupNorm(2, 4),
            nn.PReLU(4),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.InstanceNorm2d(4, affine=True),
            nn.LeakyReLU(0.1),
            nn.Conv2d(4, 4, 3, stride=2),
            nn.ELU(0.7),
            nn.Conv2d(4, 4, 1),
            nn.Hardswish(),
            nn.Conv2d(4, 4, 1),
            nn.Mish(),
            nn.Flatten(),
            nn.Linear(36, 6),
            nn.Softplus(),
            nn.Linear(6, 3),
        )

    def forward(self, x):
        return self.layers(x)


class TwoInputs(nn.Module):
    """Two inputs that meet in a product, two outputs."""

    def __init__(self):
        super().__init__()
        self.left = nn.Linear(3, 5)
        self.right = nn.Linear(4, 5)
        self.head_a = nn.Linear(5, 3)
        self.head_b = nn.Linear(5, 2)

    def forward(self, left, right):
        x = torch.tanh(self.left(left)) * torch.sigmoid(self.right(right))
        return self.head_a(x), F.softmax(self.head_b(x), dim=-1)


class KerasCnn(nn.Module):
    """PyTorch equivalent of the graph that `make_fixtures.py` builds by hand.

    Keras pads "same" after rather than before where the total is odd.
    """

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 4, 3, 2)
        self.bn1 = nn.BatchNorm2d(4, eps=1e-3)
        self.conv2 = nn.Conv2d(4, 6, 3)
        self.bn2 = nn.BatchNorm2d(6, eps=1e-3)
        self.fc = nn.Linear(6, 4)

    def forward(self, x):
        x = x.permute(0, 3, 1, 2)
        x = F.relu(self.bn1(self.conv1(F.pad(x, (0, 1, 0, 1)))))
        x = F.max_pool2d(F.pad(x, (0, 1, 0, 1), value=float("-inf")), 3, 2)
        x = F.relu(self.bn2(self.conv2(F.pad(x, (1, 1, 1, 1)))))
        return F.softmax(self.fc(x.mean([2, 3])), dim=-1)
