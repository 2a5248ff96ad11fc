raise SystemExit("this app cannot be imported")
