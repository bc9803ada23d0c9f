"""The exported network in INT8: batch norm folded away, ranges calibrated, nodes quantised."""
