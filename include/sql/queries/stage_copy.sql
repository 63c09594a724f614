-- CSV lines as the exchange wrote them, behind the prefix.
COPY {staging} ({columns}) FROM STDIN (FORMAT csv)
