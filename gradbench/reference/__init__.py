"""Who may be believed. Each answers queries through the same wall as everyone, with an error bar."""
