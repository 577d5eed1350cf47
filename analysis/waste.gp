# waste.gp - waste over time of every allocator, straight from samples.csv: the light alternative to figures.py.
#
#     gnuplot -c analysis/waste.gp RUN_DIR [TRACE [LEVEL]]
#
# Writes RUN_DIR/figures/waste-gnuplot-TRACE-LEVEL.png for the trace and level named, else for every one in the file.
# Needs gnuplot 5.2 or later with the pngcairo terminal (Debian: gnuplot-nox) and a shell. The recorded kernel is black,
# thick and first; nop keeps nothing and is left out. Exit status 2 when the run is not what it should be.

if (ARGC < 1) { printerr "usage: gnuplot -c waste.gp RUN_DIR [TRACE [LEVEL]]"; exit status 2 }
run = ARG1
samples = run."/samples.csv"
quoted(text) = "'".text."'"
if (strstrt(run, "'") || system("test -r ".quoted(samples)." && echo yes") ne "yes") {
    printerr "waste.gp: ".samples.": missing or not readable; kmemlab run writes it"
    exit status 2
}

# First pass, whole lines: a spec may hold commas, and then its field is quoted. strcol() cuts a text at a comma or a
# quote, so quotes are read as bars.
lines = "< tr '\"' '|' < ".quoted(samples)
ends(s, from) = s[from:from] eq "|" ? from + 1 + strstrt(s[from+1:*], "|,") : from - 1 + strstrt(s[from:*], ",")
field(s, from) = s[from:from] eq "|" ? s[from+1:ends(s, from)-2] : s[from:ends(s, from)-1]
second(s) = ends(s, 1) + 1
third(s) = ends(s, second(s)) + 1
key(s) = s[1:ends(s, third(s))]

# Cells are runs of lines with one key; their keys stand one after the other in `keys`, found by offset.
header = ""; last = ""; keys = ""; offsets = "1"; starts = ""; line_count = 0; cells = 0
open_cell(s) = (last = key(s), keys = keys.last, offsets = offsets." ".(strlen(keys) + 1), \
    starts = starts." ".(line_count - 1), cells = cells + 1)
note(s) = (line_count == 0 ? (header = s) : key(s) eq last ? 0 : open_cell(s), line_count = line_count + 1)
set datafile separator "\n"
set table $scan
plot lines using (note(strcol(1)), 0):(0) with table
unset table
do for [name in "trace allocator level time_ns requested_bytes held_bytes"] {
    if (strstrt(",".header.",", ",".name.",") == 0) {
        printerr "waste.gp: ".samples.": column ".name." is missing"
        exit status 2
    }
}
if (cells == 0) { printerr "waste.gp: ".samples.": no rows under the header (column trace has no value)"; exit status 2 }

key_of(i) = keys[int(word(offsets, i)):int(word(offsets, i + 1)) - 1]
trace_of(i) = field(key_of(i), 1)
allocator_of(i) = field(key_of(i), second(key_of(i)))
level_of(i) = field(key_of(i), third(key_of(i)))
first_row(i) = int(word(starts, i))
last_row(i) = i < cells ? int(word(starts, i + 1)) - 1 : line_count - 2
wanted(i) = (ARGC < 2 || trace_of(i) eq ARG2) && (ARGC < 3 || level_of(i) eq ARG3)
same_place(i, j) = trace_of(i) eq trace_of(j) && level_of(i) eq level_of(j)
drawn(i, place) = same_place(i, place) && allocator_of(i) ne "nop"
recorded(i) = allocator_of(i) eq "recorded"

set datafile separator comma
set terminal pngcairo size 1150,760 font "DejaVu Sans,11" noenhanced
set key outside right top Left reverse width -2 samplen 3
set grid lc rgb "#e6e6e6" lw 1 lt 1
set border 3
set xrange [0:*]
set tics nomirror out
set xlabel "time since the first sample (s)"
# Okabe & Ito 2008: told apart with every common colour blindness; the dash tells the rest apart, also in grey.
colours = "#0072B2 #D55E00 #009E73 #CC79A7 #E69F00 #56B4E9"
colour(n) = word(colours, (n - 1) % 6 + 1)
dash(n) = (n - 1) / 6 + 1 # solid for the first six
# A trace may begin with many events of one instant (what was live when the capture began): no wall at the left edge.
seconds(time) = finish > start && time <= start ? NaN : (time - start) / 1e9
waste(held, requested) = (held - requested) / 1048576.0

done = 0
do for [place = 1:cells] {
    first_of_place = 1
    do for [i = 1:place-1] {
        if (same_place(i, place)) {
            first_of_place = 0
        }
    }
    if (!first_of_place || !wanted(place)) {
        continue
    }

    # stats leaves out what the axes of the figure before would: zeros on a log scale.
    unset logscale y
    set yrange [*:*]
    start = 1e300; finish = 0; largest = 0; least = 1e300; count = 0; order = ""
    do for [i = 1:cells] {
        if (same_place(i, place)) {
            stats samples every ::first_row(i)::last_row(i) using (column("time_ns")) nooutput
            start = STATS_min < start ? STATS_min : start
            finish = STATS_max > finish ? STATS_max : finish
        }
        if (drawn(i, place)) {
            stats samples every ::first_row(i)::last_row(i) using (waste(column("held_bytes"), column("requested_bytes"))) nooutput
            largest = STATS_median > largest ? STATS_median : largest
            least = STATS_median > 0 && STATS_median < least ? STATS_median : least
            order = recorded(i) ? sprintf("%d %s", i, order) : sprintf("%s%d ", order, i)
        }
    }
    if (words(order) == 0) {
        continue
    }

    logarithmic = largest > 15 * least
    if (logarithmic) {
        set logscale y
        set format y "%g"
        set yrange [least / 3:*]
        set ylabel "waste = held - requested (MiB, log scale)"
    } else {
        unset logscale y
        set yrange [0:*]
        set ylabel "waste = held - requested (MiB)"
    }
    set title "Waste over time: trace ".trace_of(place).", level ".level_of(place) font ",13"
    if (system("mkdir -p ".quoted(run."/figures")." && test -w ".quoted(run."/figures")." && echo yes") ne "yes") {
        printerr "waste.gp: ".run."/figures: cannot be written"
        exit status 2
    }
    set output run."/figures/waste-gnuplot-".trace_of(place)."-".level_of(place).".png"
    number(n) = int(word(order, n))
    plot for [n = 1:words(order)] samples every ::first_row(number(n))::last_row(number(n)) \
        using (seconds(column("time_ns"))):(waste(column("held_bytes"), column("requested_bytes"))) with lines \
        lc rgb (recorded(number(n)) ? "#000000" : colour(n)) lw (recorded(number(n)) ? 3.5 : 1.6) \
        dt dash(n) title (recorded(number(n)) ? "recorded (real kernel)" : allocator_of(number(n)))
    unset output
    done = done + 1
}
if (done == 0) {
    printerr "waste.gp: ".samples.": no rows of trace ".(ARGC > 1 ? ARG2 : "any").", level ".(ARGC > 2 ? ARG3 : "any")
    exit status 2
}
