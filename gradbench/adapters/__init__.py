"""One file per framework; none imports another, and nothing but the registry names them."""
