"""Each benchmark measures ours, a peer and a floor in one run and prints ratios: ``python -m benchmarks [name]``."""
