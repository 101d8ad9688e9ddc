"""The HTTP server: edge, application, lifespan, health, and gunicorn around it."""
