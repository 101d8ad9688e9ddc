"""What the fleet reports beside rules: threats, skills, indicators, and how the fleet itself is.

Stands on every other capability and is imported by none. Nothing is stored before `app.privacy.anonymisation` has
seen it, and nothing counts that no enrolled identity stands behind (`app.consensus.votes`).
"""
