"""`make soak`: a mixed load for a chosen time, with every fault that the tests have, by chance and by a seed."""
