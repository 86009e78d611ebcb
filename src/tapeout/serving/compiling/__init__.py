"""How kernels are compiled and where the result is kept."""
