"""What the fleet reports beside rules: threats, skills, indicators, telemetry; and the statistics of all of it.

Stands on every other capability and is imported by none. Nothing is stored before `app.privacy.anonymisation` has
processed it, and no report counts without an enrolled identity behind it (`app.consensus.votes`).
"""
