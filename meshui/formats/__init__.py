"""How Django writes dates, here in the admin: settings.FORMAT_MODULE_PATH."""
