"""From a trained model to a verified bundle. Needs the `export` extra."""
