"""The fleet: agents and devices, and what each version of the stock Guard does and needs."""
