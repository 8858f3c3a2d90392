"""edgedl beside its peers: the same two trained models under every engine, in one run."""
