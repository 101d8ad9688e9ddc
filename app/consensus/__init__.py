"""Consensus: what three independent scanners confirm becomes a rule; everything else says what it waits for.

The pure core (`machine`, `votes`, `policy`) decides; `store` and `feedback_store` keep; `service` joins them;
`routes` speaks HTTP. The wire follows the public server where a stock client reads it and drops its faults:
confirmations there are a bare number, one key can vote three times, and the first sender of a hash owns the text that
honest scanners then promote.
"""
