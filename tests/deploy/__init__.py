"""What is in `deploy/`, and the server as a service manager runs it."""
