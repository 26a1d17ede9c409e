# Varnish in front, as a cache for 15 s (the publisher's max-age) over many clients. It keeps a variant
# for each Accept-Encoding, passes entity-tags on as they are, and answers 304 by itself.
vcl 4.1;

backend publisher {
    .host = "127.0.0.1";
    .port = "8080";
    .probe = { .url = "/health/ready"; .interval = 5s; .timeout = 6s; }
}

sub vcl_recv {
    # By itself Varnish would make one "gzip" of every Accept-Encoding: then br and zstd are lost.
    set req.http.X-Accept-Encoding = req.http.Accept-Encoding;
    if (req.method != "GET" && req.method != "HEAD") {
        return (pass);
    }
    if (req.url ~ "^/(metrics|health|v1/admin/)") {
        return (pass);
    }
    # Cache busters (?_=…) of the board are one page.
    if (req.url ~ "/active-challenges\?") {
        set req.url = regsub(req.url, "\?.*$", "");
    }
}

sub vcl_backend_response {
    # What is stale is better than waiting for the next one.
    set beresp.grace = 10s;
}
