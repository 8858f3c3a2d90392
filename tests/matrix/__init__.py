"""The matrix: models as people bring them, each exported in every recipe that fits."""
