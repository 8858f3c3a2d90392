"""A bundle in a script of ten lines.

python examples/script.py digits.bundle examples/digit.png
"""

import sys
from pathlib import Path

from edgedl import runtime
from edgedl.images import read_image

with runtime.load(sys.argv[1]) as model:
    classifier = model.classifier()
    found = classifier.classify(read_image(Path(sys.argv[2]), classifier.image_size))
print(f"{found.label} ({found.score:.1%})")
