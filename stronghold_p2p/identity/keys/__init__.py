"""Our own key pair and the file that it is kept in."""
