"""Collections of tensors that a program has without saying so, and what is kept of one as a whole."""

from __future__ import annotations

KINDS = ("weights", "gradients", "outputs", "inputs")
"""Collections that a collection of the user's is chosen from."""
BIASES_COLLECTION, BIASES = "biases", "bias"
"""A collection that is recorded with the weights, and what its tensors' names have in them."""
LABELS, PREDICTIONS = "labels", "predictions"
IMAGES, SEQUENCES = "input_image", "input_sequence"
WHOLE_ONLY = (LABELS, PREDICTIONS, IMAGES, SEQUENCES)
"""Collections of what a program feeds its model with; rules take all that is in them."""
ARRAY, HISTOGRAM = "array", "histogram"
"""In the place of a statistic: the tensor itself, or its histogram."""
