"""Write `assets/digits/digits.safetensors` from the copy in scikit-learn's package.

The file holds `images`, uint8 `[1797, 8, 8]` with values 0 to 16, and `labels`, uint8
`[1797]`, in scikit-learn's order.

    pip install -r requirements.txt
    python make_dataset.py
"""

from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from sklearn.datasets import load_digits

OUT = Path(__file__).resolve().parents[2] / "assets/digits/digits.safetensors"


def main():
    digits = load_digits()
    images = digits.images.astype(np.uint8)
    labels = digits.target.astype(np.uint8)
    assert images.shape == (1797, 8, 8) and labels.shape == (1797,)
    assert (images == digits.images).all() and images.max() == 16

    OUT.parent.mkdir(parents=True, exist_ok=True)
    save_file({"images": images, "labels": labels}, OUT)
    print(f"{len(images)} images, per class {np.bincount(labels).tolist()}")


if __name__ == "__main__":
    main()
