"""Graph rewrites, one per file, each verified before and after."""
