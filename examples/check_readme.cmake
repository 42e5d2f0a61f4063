# cmake -DREADME=README.md -DSOURCE=readme.cpp -DPROGRAM=binary -P check_readme.cmake
# The README's first ```cpp block is SOURCE to the letter, and the ```text block after it is what PROGRAM prints.
cmake_minimum_required(VERSION 3.25)

# What stands between the first line "```LANGUAGE" of `text` and the next "```"; `rest` is what follows.
function(take_block text language block rest)
  set(fence "\n```${language}\n")
  string(FIND "${text}" "${fence}" begin)
  if(begin EQUAL -1)
    message(FATAL_ERROR "${README}: no block that starts with ```${language}")
  endif()
  string(LENGTH "${fence}" length)
  math(EXPR begin "${begin} + ${length}")
  string(SUBSTRING "${text}" ${begin} -1 text)
  string(FIND "${text}" "```" end)
  string(SUBSTRING "${text}" 0 ${end} inside)
  string(SUBSTRING "${text}" ${end} -1 after)
  set(${block} "${inside}" PARENT_SCOPE)
  set(${rest} "${after}" PARENT_SCOPE)
endfunction()

function(expect_same found expected what)
  if(NOT found STREQUAL expected)
    message(FATAL_ERROR "${what}\n--- found\n${found}--- expected\n${expected}---")
  endif()
endfunction()

file(READ ${README} readme)
file(READ ${SOURCE} source)
take_block("${readme}" cpp shown_source readme)
take_block("${readme}" text shown_output readme)
execute_process(COMMAND ${PROGRAM} OUTPUT_VARIABLE output COMMAND_ERROR_IS_FATAL ANY)
expect_same("${shown_source}" "${source}" "the program in ${README} is not ${SOURCE}")
expect_same("${shown_output}" "${output}" "the output in ${README} is not what ${PROGRAM} prints")
