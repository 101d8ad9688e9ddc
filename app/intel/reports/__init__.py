"""Reports of threats: events of Guards, scanners, traps and managed agents, and sealed reports."""
