"""Who may do what: keys, enrolment, roles, rate limits, signing keys and the audit chain.

Stands on `app.storage` and `app.http` only. Routes of every capability use `app.access.guards`; whoever
issues, revokes or checks a key does so through `app.access.gatekeeper.Gatekeeper`.
"""
