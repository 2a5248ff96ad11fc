"""The widgets: each draws one aspect of the View."""
