"""Skills: reports on them and votes for them, the lists that follow, badges, and analysis."""
