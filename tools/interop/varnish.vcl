vcl 4.1;

backend degu {
  .host = "127.0.0.1";
  .port = "{DEGU}";
}

sub vcl_recv {
  return (pass);
}
