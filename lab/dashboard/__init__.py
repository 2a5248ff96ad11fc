"""The dashboard: a client of the gateway that shows, in a terminal, what the gateway does.

`state` folds the feed into a `View` without any screen; `client` brings the feed and makes control calls;
`widgets` draw from the View and post messages up; `screens` arrange widgets and decide; `app` holds it all
together. Nothing here imports the gateway.
"""
