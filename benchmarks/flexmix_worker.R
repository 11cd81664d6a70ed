# Seconds per EM iteration of flexmix's regressions, timed on demand, as peers_worker.py does it.

suppressMessages(library(flexmix))
file <- file(commandArgs(TRUE)[1], "rb")
invisible(readBin(file, "raw", 8))
header <- rawToChar(readBin(file, "raw", readBin(file, "integer", size = 2)))
told <- file("stdin", "r")
k <- as.integer(sub('.*"k": ([0-9]+).*', "\\1", readLines(told, 1)))
shape <- as.integer(regmatches(sub(".*shape", "", header), gregexpr("[0-9]+", sub(".*shape", "", header)))[[1]])
rows <- t(matrix(readBin(file, "double", prod(shape)), shape[2], shape[1]))
close(file)

data <- data.frame(y = rows[, shape[2]], x = rows[, -shape[2]])
set.seed(1)
start <- matrix(runif(shape[1] * k) + 0.1, shape[1], k)
start <- start / rowSums(start)
fit <- function(iterations, some) {
  fitted <- flexmix(
    y ~ ., data = data[some, ], k = k, model = FLXMRglm(family = "gaussian"), cluster = start[some, ],
    control = list(iter.max = iterations, tolerance = -1, minprior = 0)
  )
  stopifnot(fitted@iter == iterations)
}
seconds <- function(iterations) {
  gc()
  began <- as.numeric(Sys.time())
  fit(iterations, seq_len(shape[1]))
  as.numeric(Sys.time()) - began
}

fit(1, seq_len(min(2000, shape[1])))
cat("ready\n")
while (length(readLines(told, 1))) cat((seconds(3) - seconds(1)) / 2, "\n", sep = "")
