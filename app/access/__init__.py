"""Who may do what: keys, enrolment, roles, rate limits and the audit log.

Imports only `app.storage`, `app.http` and `app.signing`. Routes of every capability use `app.access.route_guards`;
code that issues, revokes or checks a key goes through `app.access.gatekeeper.Gatekeeper`.
"""
