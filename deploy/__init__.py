"""What an installation has besides the program: units, nginx, monitoring, the Guard relay, the archive."""
