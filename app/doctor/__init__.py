"""The checks of `threatcloud doctor`."""
