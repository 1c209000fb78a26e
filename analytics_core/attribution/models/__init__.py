"""Models: each says how much every touch of a conversion weighs, for one conversion and for many of as many touches."""
