"""Training a network's exits: jointly, the backbone first and then its exits, or side heads alone.

Every epoch draws its order, its dropout and its augmentation from a generator of its own, so a run that is killed goes
on from its last finished epoch and, on a CPU, ends with the same weights as one that was not. The last epoch's weights
are kept: validation accuracy is reported and chooses nothing, because calibration needs that split untouched.
"""
