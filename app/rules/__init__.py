"""What an ATR rule is: reading its text, checking it, classifying it, and writing it for each kind of client.

All but the stored rules (`store`, `listing`, `local`) and their routes is pure and synchronous: no I/O, no clock, no
network. What may be slow on a hostile text
(:mod:`app.rules.gate`, the fallback engines of :mod:`app.rules.regexes`) says so and belongs in a process that
can be killed.
"""
