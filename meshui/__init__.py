"""The Django project: wiring only. Everything that meshui does lives in ``rollouts``."""
