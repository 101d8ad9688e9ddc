"""ATR rules: reading their texts, checking, classifying and comparing them, and writing them for each kind of client.

All but the stored rules (`store`, `local`) and their routes is pure and synchronous: no I/O, no clock, no network.
Code that may be slow on a hostile text (`gate`, the fallback engines of `regexes`) says so and belongs in a process
that can be killed. `redos` is a library in itself.
"""
