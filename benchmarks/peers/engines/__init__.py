"""One file per engine: `open_model(inputs, threads, *args)` gives a step, named arrays in and out.

`inputs` show the sizes that the step will be called with; `threads` is None for all CPUs.
Each file imports only its own engine, NumPy and edgedl.runtime: it runs in an environment
that has nothing else. A step copies what it is given, as a caller with new inputs has to, and
may give views that the next step overwrites.
"""

from __future__ import annotations

from collections.abc import Callable

from edgedl.runtime.golden import Arrays

Step = Callable[[Arrays], Arrays]

# What each model answers, by its first input: some engines number their outputs.
OUTPUTS = {"image": ["probabilities"], "tokens": ["logits", "h_out", "c_out"]}
