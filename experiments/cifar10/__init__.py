"""CIFAR-10 from start to end, with given weights or trained here; see `__main__`."""
