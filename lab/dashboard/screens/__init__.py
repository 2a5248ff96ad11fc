"""The screens: each arranges widgets, hears their messages, and decides."""
